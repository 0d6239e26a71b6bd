"""How events, hand-offs, MCP calls and statistics look in a terminal. Pure: messages in, rich renderables out.

Event content is other people's data: every string passes :func:`cli.render.text.clean` and is shown as text, never as
terminal control sequences or rich markup.
"""

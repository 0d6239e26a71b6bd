"""The demo of `chaukas-gateway up`: a session of the real SDK goes in at the front door, and what came out is shown."""

from cli.demo.show import render_exports, run

__all__ = ["render_exports", "run"]

"""Checks of what the product is made of, for ``make lint``: known vulnerabilities, secrets in the repository."""

"""The report: reported numbers next to measured ones, on the terminal, as Markdown and as an HTML page."""

"""The side-by-side: reported numbers beside measured ones, as terminal table, Markdown and one HTML page."""

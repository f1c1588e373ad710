"""Markup in, text out: LaTeX, wikitext, HTML of pages and posts, source code and its licences."""

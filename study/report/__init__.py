"""The report of a study, and of two runs: one self-contained HTML file, or a Markdown document."""

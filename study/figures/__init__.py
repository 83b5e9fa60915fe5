"""Turn trial records into figures: plotly as plain JSON, in self-contained HTML pages."""

"""Figures of trials and studies: plotly as plain JSON, in self-contained HTML pages."""

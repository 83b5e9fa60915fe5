"""A study in MLflow's words: tags, params, metrics, Markdown, tables; pure."""

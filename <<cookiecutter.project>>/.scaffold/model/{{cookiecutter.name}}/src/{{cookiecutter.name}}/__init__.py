"""The model `{{ cookiecutter.name }}`: where its rows come from (`ingest`) and what is fitted (`model`)."""

"""Where the rows of this model come from (`ingest`), and what is fitted (`model`)."""

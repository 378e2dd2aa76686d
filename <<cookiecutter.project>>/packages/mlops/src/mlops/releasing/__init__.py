"""May this version be shipped, and what is on record about it? Decides and notes; packaging and deploying do."""

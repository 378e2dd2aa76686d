"""The reporting room: what the gate found, told to people (Markdown, HTML, cards)."""

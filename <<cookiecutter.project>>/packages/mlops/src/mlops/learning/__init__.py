"""The learning room: fits, scores and exports models; it decides nothing about them."""

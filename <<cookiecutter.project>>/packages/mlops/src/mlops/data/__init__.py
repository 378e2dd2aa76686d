"""The data room: where rows come from, what they must be, which are kept from training, what they look like."""

"""Has the world moved since training, and which models are due for a new version?"""

import os

# What polars has freed goes back to the system at once, not after ten seconds: memory does not grow with the rows that
# pass. Its allocator reads this when polars is imported; whoever has set it knows better.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:50,muzzy_decay_ms:0")

"""The smallest `model.toml` that can be read, for tests in which its numbers do not matter."""

TOML = """\
[model]
task = "classification"
owner = "@acme/care"
description = "Is it?"
[data]
source = "replay"
as_of = "2026-07-01"
[split]
method = "time"
[evaluate]
metrics = ["roc_auc"]
[gate]
margin = 0.01
slice_margin = 0.05
"""

"""The prediction service: an exported model folder, verified, loaded without pickle, and asked over HTTP or by file."""

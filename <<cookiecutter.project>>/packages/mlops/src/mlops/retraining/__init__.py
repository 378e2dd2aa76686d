"""What happens to a model without a person?

An alarm becomes an issue and asks for training; a due model is trained on a working branch, and becomes a pull request
or an issue.
"""

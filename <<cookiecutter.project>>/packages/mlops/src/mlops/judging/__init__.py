"""May this version be promoted? Finds the champion, compares on the same rows, and gives a verdict with its reasons."""

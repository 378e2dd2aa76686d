"""What a workflow shows and decides at its end: the comment, the verdict, the rules of the default branch."""

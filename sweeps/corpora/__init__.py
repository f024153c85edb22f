"""Where the text of a corpus comes from, and how it becomes tokens."""

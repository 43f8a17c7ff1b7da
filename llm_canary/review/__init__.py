"""People grade live answers: the queue, what they say, and how far they and judges agree."""

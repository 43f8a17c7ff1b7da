"""Lets texts and rows grow old, and erases what a person asks to be erased."""

"""What needs a person now and what happened lately, told alike to the page and other systems."""

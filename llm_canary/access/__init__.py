"""Who is calling: accounts, browser sessions, and the record of what they did."""

"""What differs between the endpoints: how a request is read and how its answer is understood."""

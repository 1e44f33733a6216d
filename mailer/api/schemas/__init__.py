"""What requests and answers of the HTTP API look like; a file for each kind of thing."""

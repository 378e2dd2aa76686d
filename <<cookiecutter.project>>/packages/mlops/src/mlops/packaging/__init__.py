"""Which bytes become an image, and how? A version, the service, and the libraries that the lock names for both."""

"""Files elsewhere: on a web server, in an object store, wherever fsspec reads."""

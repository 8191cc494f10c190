"""Code that exists only for speed: native passes, compiled and recorded steps."""

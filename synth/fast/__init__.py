"""What exists for speed alone: native passes, compiled and recorded steps."""

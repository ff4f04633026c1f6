"""The first minute after a deploy and after a flush, cold and warmed."""

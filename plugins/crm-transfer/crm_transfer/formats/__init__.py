"""The formats of files beside delimited text and JSON lines: one module each way, loaded when one is asked for."""

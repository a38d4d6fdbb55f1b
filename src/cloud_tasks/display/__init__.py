"""Show a run to the person at the console: lines, drawn progress, crash reports, tables."""

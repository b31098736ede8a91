"""The evidence: commands that measure what the course claims, and the page of results that they write."""

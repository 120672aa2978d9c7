"""Text to verdict: answer extraction, equality, format, composition, and the killable pool."""

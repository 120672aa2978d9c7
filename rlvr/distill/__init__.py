"""Imitation of traces: the cold start, collecting a teacher's traces, fine-tuning a student."""

"""Concept-based and global analysis of image segmentation models."""

__version__ = "0.1.0"

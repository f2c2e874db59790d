"""What Hugging Face transformers leaves behind when a segmentation network is saved: settings, an image processor, weights."""

"""Guizzo et al. 2023: quaternion VGG16 on RH-Emo embeddings, trained away from words and speakers."""

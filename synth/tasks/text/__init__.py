"""Running text: generated stories, corpora of files, tokenisers, two-token names."""

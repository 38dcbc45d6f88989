"""What is measured on: encoders, general sentences, judged local sets."""

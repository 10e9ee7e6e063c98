"""What the endpoints answer with, by stage; the OpenAPI document is made from these."""

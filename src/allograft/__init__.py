"""allograft: which pretrained weights, moved over how, give the best model, and is the difference real?"""

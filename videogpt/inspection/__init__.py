"""What is this file or folder, and is it sound?"""

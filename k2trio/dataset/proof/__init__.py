"""The proof: what recorded files hold of each stream, and what they lack.

``prove(find(paths)).accounts`` has an account for each stream; ``account.numberings[-1].holes`` are
the ranges that are missing of the ids that count today, each with why and with the times of its
neighbours. Older numberings are of ids that the venue has given anew since: nobody has those.
"""

"""Self-checks of the problem sets: they name a mistake while somebody works, and keep the solution back.

    from dfcvae.course.checks import ps1 as check
    check.kl_normal(kl_normal)

Each prints one line. They try other numbers than the hidden tests do.
"""

from dfcvae_classroom.command import main

raise SystemExit(main())

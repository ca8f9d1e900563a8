// Everything works without this: it keeps pages fresh and adds keys and hover.
"use strict";

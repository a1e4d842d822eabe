/* What a user of the installed library would build: allocates, and dumps to the file it is given.
 */
#include <hpmalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments)
{
    for (int i = 0; i < 3000; i++)
        memset(malloc(1000), count, 1000);
    int status = hpm_profile_dump(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, arguments[1]);
    printf("%s %d\n", hpm_version(), status);
    return 0;
}

#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

bool problem_set(char *problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, PROBLEM_SIZE, format, arguments);
    va_end(arguments);
    return false;
}
